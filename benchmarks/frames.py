"""Frames per second, file to file: loops over the diffusers pipeline, and this project.

    python -m benchmarks.frames [--clip FILE] [--size 384] [--runs 3] [--rows ...] [--json out.json]

All rows edit the same clip with the same model, size, steps and scales, in turn, and encode with
libx264. The plain loop is the obvious script: one pipeline call per frame, with PIL and PyAV; torch
uses its default number of threads, and half precision on a GPU. Two other loops pass the whole
clip, or as much as fits into memory, in one call; the second of them uses diffusers'
CrossFrameAttnProcessor, its documented way to make a video consistent.

Prints a Markdown table with medians; nothing is downloaded (``--model tiny`` is bundled).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import av

from ._common import CLIP
from ._plain import PLAIN, command, in_turn, options, plain_loop, print_results

_FILES = """
import av
clip, out = rest
source = av.open(clip)
stream = source.streams.video[0]
target = av.open(out, "w")
video = target.add_stream("libx264", rate=stream.average_rate, options={"crf": "18"})
video.width, video.height, video.pix_fmt = stream.width, stream.height, "yuv420p"
def write(picture):
    for packet in video.encode(av.VideoFrame.from_image(picture)):
        target.mux(packet)
"""
_END = """
for packet in video.encode():
    target.mux(packet)
target.close()
"""
_ONE_BY_ONE = """
for frame in source.decode(stream):
    write(edited([frame.to_image()])[0])
"""
_AT_ONCE = """
for picture in together([frame.to_image() for frame in source.decode(stream)]):
    write(picture)
"""
_CROSS_FRAME = """
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
    CrossFrameAttnProcessor2_0)
pipe.unet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=3))
"""
#: The peers' rows.
LOOPS: dict[str, str] = {
    PLAIN: _FILES + _ONE_BY_ONE + _END,
    "diffusers, the whole clip at once": _FILES + _AT_ONCE + _END,
    "diffusers, CrossFrameAttnProcessor": _CROSS_FRAME + _FILES + _AT_ONCE + _END,
}

#: Rows for which warm workers wait; how many (None: the default).
WAITING: dict[str, int | None] = {
    "... workers waiting": None,
    "... with --anchors 3, workers waiting": None,
    "... with --anchors 3, one worker waiting": 1,
}
#: Our rows: everything as it comes, then one thing off at a time.
SWITCHES: dict[str, tuple[str, ...]] = {
    "ip2p-batch": (),
    "... in float32": ("--dtype", "float32"),
    "... carryover off": ("--carryover", "0"),
    "... temporal filter off": ("--temporal-filter", "0"),
    "... one worker": ("--workers", "1"),
    "... with --deepcache-interval 2": ("--deepcache-interval", "2"),
    "... with --anchors 3": ("--anchors", "3"),
    "... workers waiting": (),
    "... with --anchors 3, workers waiting": ("--anchors", "3"),
    "... with --anchors 3, one worker waiting": ("--anchors", "3"),
}


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--clip", type=Path, default=CLIP)
    known = [name for name in (*LOOPS, *SWITCHES) if "anchors 3, " not in name]
    parser.add_argument("--rows", default=";".join(known), help="separated by semicolons")
    arguments = parser.parse_args()
    clip = str(arguments.clip.absolute())
    frames = frames_of(arguments.clip)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(arguments.rows.split(";")):
            output = f"{folder}/{number}.mp4"
            rows[name] = (
                plain_loop(LOOPS[name], arguments, clip, output)
                if name in LOOPS
                else command(clip, output, arguments, *SWITCHES[name])
            )
        found = in_turn(rows, arguments.runs, f"{folder}/state", WAITING, clip)
        for path in Path(folder).glob("*.mp4"):
            assert frames_of(path) == frames, path
    print_results(found, frames, "frame", arguments.json)


if __name__ == "__main__":
    main()
