"""The job folder: what was asked, what is planned, what happened. Disk is the truth."""
