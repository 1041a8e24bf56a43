"""The queue: Redis, Celery, messages and local workers. Loads no media library and no torch."""
