"""Edit whole videos and image folders with an instruction: InstructPix2Pix on Celery and Redis.

::

    import ip2p_batch

    recipe = ip2p_batch.recipe_for("tiny")  # the bundled model; the default is InstructPix2Pix
    result = ip2p_batch.edit("clip.mp4", "make it winter", output="out.mp4", recipe=recipe)
    print(result.output, result.frames)

``__init__.pyi`` lists the public names. They load at first use, so that importing a part, such as
``ip2p_batch.queue``, loads no torch and no media library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
