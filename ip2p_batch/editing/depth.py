"""Estimate the depth of images by a model that transformers loads. torch is imported when used."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from ..frame import Image

#: Mean and deviation of ImageNet's channels, for a model whose folder names none.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Longest side that images are estimated at, if the model names none.
_SIZE = 518
#: Threads on a machine with a GPU; on the CPU the editor fixes their number.
_THREADS = 4


@functools.lru_cache(maxsize=2)
def load_estimator(model: str) -> Callable[[Image], npt.NDArray[np.float32]]:
    """Load an estimator, or return it where it is loaded. It runs on the CPU in float32.

    Results are the same on equal processors: each image is estimated alone. The thread that decodes
    frames runs it, and only the editor's thread uses the GPU.

    Args:
        model: a folder of transformers with safetensors weights, or a hub id.

    Raises:
        ModelError: it is not found, or is no model of ``AutoModelForDepthEstimation``.
    """
    import torch
    from transformers import AutoModelForDepthEstimation

    from .loading import quiet_libraries

    quiet_libraries()
    try:
        network = AutoModelForDepthEstimation.from_pretrained(
            model, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
        settings = _settings(model)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{model} cannot be loaded as a depth estimator: {text}",
            hint="Name a folder or hub id of transformers with safetensors weights by"
            " --control depth,preprocessor=MODEL.",
        ) from None
    if torch.cuda.is_available() and torch.get_num_threads() > _THREADS:
        torch.set_num_threads(_THREADS)  # so that workers with other processors are alike
    return functools.partial(_estimate, network.eval(), settings)


def _settings(model: str) -> dict[str, Any]:
    """The content of the model's ``preprocessor_config.json``; empty without one."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        model, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        return {}
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _estimate(network: Any, settings: dict[str, Any], image: Image) -> npt.NDArray[np.float32]:
    """Relative depth of one image, larger is nearer: float32 of about the image's shape."""
    import torch

    size = settings.get("size")
    longest = size.get("height", _SIZE) if isinstance(size, dict) else _SIZE
    multiple = int(settings.get("ensure_multiple_of") or 14)
    pixels = _resized(image, int(longest), multiple).astype(np.float32) / 255
    mean = np.asarray(settings.get("image_mean") or _MEAN, np.float32)
    std = np.asarray(settings.get("image_std") or _STD, np.float32)
    planes = np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))
    with torch.inference_mode():
        depth = network(pixel_values=torch.from_numpy(planes)[None]).predicted_depth[0]
    return np.asarray(depth.float().numpy(), dtype=np.float32)


def _resized(image: Image, longest: int, multiple: int) -> Image:
    """The image with its longest side near ``longest``, both sides multiples of ``multiple``."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    new_width, new_height = (
        max(multiple, round(side * scale / multiple) * multiple) for side in (width, height)
    )
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (new_width, new_height), interpolation=method), np.uint8)
