"""Pictures per second for a folder: a plain loop over the diffusers pipeline, and this project.

    python -m benchmarks.folder [--pictures 64] [--folder DIR] [--runs 3] [--json out.json]

Like ``benchmarks.frames``, with pictures: the same model, size, steps and scales for both, run in
turn. The plain loop opens each picture with PIL, calls the pipeline, and saves the result.

Prints a Markdown table with medians; nothing is downloaded (``--model tiny`` is bundled).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ._common import frames_as_pictures
from ._plain import PLAIN, command, in_turn, options, plain_loop, print_results

LOOP = """
from pathlib import Path
source, output = map(Path, rest)
output.mkdir(exist_ok=True)
for path in sorted(source.iterdir()):
    with Image.open(path) as picture:
        edited([picture.convert("RGB")])[0].save(output / path.name, quality=95)
"""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, default=64, help="frames of the demo's clip")
    parser.add_argument("--folder", type=Path, help="edit these pictures instead (no subfolders)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.folder
        if source is None:
            source = Path(folder) / "pictures"
            frames_as_pictures(source, arguments.pictures)
        source = source.absolute()
        names = sorted(path.name for path in source.iterdir())
        plain, ours = f"{folder}/plain", f"{folder}/ours"
        rows = {
            PLAIN: plain_loop(LOOP, arguments, str(source), plain),
            "ip2p-batch": command(str(source), ours, arguments),
        }
        found = in_turn(rows, arguments.runs, f"{folder}/state")
        for output in (plain, ours):
            assert sorted(path.name for path in Path(output).iterdir()) == names, output
    print_results(found, len(names), "picture", arguments.json)


if __name__ == "__main__":
    main()
