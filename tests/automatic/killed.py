"""A run over a stack by a process that is killed: it says when it is in the middle, and waits there.

Called with the stack (.npy), the folder of the labels, that of the cache, and how many planes are to be done.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from napari_sam.automatic.stack import StackRun, planes_along
from napari_sam.starting import open_session


def main(stack: str, labels: str, cache: str, planes: int) -> None:
    session = open_session(np.load(stack), "zyx", "nano", labels, device="cpu", cache=cache)
    run = StackRun(session, planes_along(session, "z"))

    def wait_in_the_middle(done: float) -> None:
        if done > planes / len(run.planes):
            print(run.done, flush=True)
            time.sleep(600)

    run.compute(wait_in_the_middle)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
