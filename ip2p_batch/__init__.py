"""Edit whole videos and folders of pictures by a sentence: InstructPix2Pix on Celery and Redis."""

__version__ = "0.1.0"
