"""Edit all chunks of a job, each attempt in a process of its own, until every chunk is settled.

As a script: ``python forked_attempts.py JOB``. Prints the number of crashes of each chunk as JSON.
Attempts are forked from a process that has imported everything and runs no thread, so a crash
costs little.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

MAX_CRASHES = 60


def crashes(job, **env):
    """Crashes by chunk until all chunks of ``job`` are settled."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parent.parent), *sys.path)))
    done = subprocess.run(
        [sys.executable, __file__, str(job.path)],
        env={**os.environ, "PYTHONPATH": path, **env},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def main(path):
    from ip2p_batch.errors import Ip2pError
    from ip2p_batch.execution import timeout
    from ip2p_batch.execution.attempt import give_up
    from ip2p_batch.execution.chunk import process_chunk
    from ip2p_batch.jobs.folder import JobFolder
    from ip2p_batch.jobs.records import WorkerInfo
    from ip2p_batch.planning import cost
    from ip2p_batch.settings import Settings
    from workers.editor_cache import editor_for

    folder = JobFolder(path)

    def die(line):
        os.kill(os.getpid(), signal.SIGKILL)

    hangs_after = os.environ.get("HANGS_AFTER")

    def attempt(chunk):
        worker = WorkerInfo(host="crashing", pid=os.getpid())
        hang_detector = None
        if hangs_after is not None:
            cost._SLOWEST["cuda"] = 1e9
            hang_detector = timeout.HangDetector(die, device="cuda", minimum=float(hangs_after))
        settings = Settings.from_env()
        try:
            process_chunk(
                folder, chunk, editor_for=lambda recipe: editor_for(recipe, settings),
                worker=worker, hang_detector=hang_detector,
            )  # fmt: skip
        except Ip2pError as error:
            give_up(folder, chunk.id, error, attempts=1, worker=worker)

    counts = {}
    for chunk in folder.plan().chunks:
        counts[chunk.id] = 0
        while not folder.is_settled(chunk.id):
            child = os.fork()
            if not child:
                attempt(chunk)
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                counts[chunk.id] += 1
            assert counts[chunk.id] < MAX_CRASHES
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1])
