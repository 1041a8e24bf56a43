"""Edit a chunk, from its lease to its receipt, and assemble the output of a job."""
