"""Plans: from source facts and a recipe to shots, chunks and waves. Pure; loads no torch."""
