"""The job folder: specification, plan and records of a job. Disk is the truth."""
