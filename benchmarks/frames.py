"""Frames per second, file to file: a plain loop over the diffusers pipeline, and this project.

Both edit the same clip with the same model, size, steps and scales, one after the other in one
run, and both encode with libx264. The plain loop is what a user would write: a PIL picture in, one
pipeline call a frame, PyAV out; torch takes all the threads it wants there.

    python benchmarks/frames.py [--clip FILE] [--size 384] [--runs 3] [--json out.json]

Prints a Markdown table with medians; nothing is downloaded (``--model tiny`` is bundled).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
from pictures import CLIP
from plain import PLAIN, command, in_turn, options, plain_loop, tell

LOOP = """
import av
clip, out = rest
source = av.open(clip)
stream = source.streams.video[0]
target = av.open(out, "w")
video = target.add_stream("libx264", rate=stream.average_rate, options={"crf": "18"})
video.width, video.height, video.pix_fmt = stream.width, stream.height, "yuv420p"
for frame in source.decode(stream):
    for packet in video.encode(av.VideoFrame.from_image(edited(frame.to_image()))):
        target.mux(packet)
for packet in video.encode():
    target.mux(packet)
target.close()
"""


#: Our rows: everything as it comes, then one thing off at a time.
SWITCHES: dict[str, tuple[str, ...]] = {
    "ip2p-batch": (),
    "... in float32": ("--dtype", "float32"),
    "... carryover off": ("--carryover", "0"),
    "... temporal filter off": ("--temporal-filter", "0"),
    "... one worker": ("--workers", "1"),
}


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--rows", default=";".join(SWITCHES), help="ours, separated by semicolons")
    arguments = parser.parse_args()
    clip, size = str(arguments.clip.absolute()), arguments.size
    frames = frames_of(arguments.clip)
    with tempfile.TemporaryDirectory() as folder:
        chosen = arguments.rows.split(";")
        outputs = {name: f"{folder}/{n}.mp4" for n, name in enumerate((PLAIN, *chosen))}
        rows = {PLAIN: plain_loop(LOOP, size, clip, outputs[PLAIN])}
        for name in chosen:
            rows[name] = command(clip, outputs[name], size, *SWITCHES[name])
        seconds = in_turn(rows, arguments.runs, f"{folder}/state")
        for path in outputs.values():
            assert frames_of(Path(path)) == frames, path
    tell(seconds, frames, "frame", arguments.json)


if __name__ == "__main__":
    main()
