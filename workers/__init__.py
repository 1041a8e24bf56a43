"""The programs that do the work: Celery's tasks, thin around ``ip2p_batch``, and their launcher."""
