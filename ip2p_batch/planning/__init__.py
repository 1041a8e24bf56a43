"""Plan jobs: from source facts and a recipe to shots, chunks and waves. Loads no torch."""
