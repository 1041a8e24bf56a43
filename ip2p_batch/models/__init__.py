"""The bundled model, and facts about model folders."""
