"""What `test_forks` runs in a process of its own, because a fork that hangs takes its parent with it.

    python fork_worker.py MODE BUNDLE

The parent codes a picture with several threads, forks children in the way that MODE names, and compares what each of
them makes with its own. It prints one line for each child: "same", "other", or why there is none.
"""

import hashlib
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

import clc
from clc.codec import Codec
from clc.pictures.images import read_image

SECONDS = 60
CHILDREN = 2


def picture(bundle: Path) -> NDArray[np.uint8]:
    """Return a part of the bundle's key picture, so that references of both kinds are tried."""
    (key_picture,) = (bundle / "pictures").glob("*.webp")
    return np.ascontiguousarray(read_image(key_picture)[8:104, 4:132])


def work(bundle: Path) -> str:
    """Code a picture beside a key picture and another with refinement, decode both; return the digest of it all."""
    image_HW3 = picture(bundle)
    digest = hashlib.sha256()
    for data in (
        clc.encode(image_HW3, 50, bundle=bundle, effort=1),
        clc.encode(image_HW3[:64, :64], 50, "none", bundle=bundle, effort=5),
    ):
        digest.update(data + clc.decode(data, bundle).tobytes())
    return digest.hexdigest()


def child(bundle: Path, answers: Any) -> None:
    """Do the work in a child; an error is the answer, too."""
    try:
        answers.put(work(bundle))
    except Exception as error:  # whatever it is, the parent prints it
        answers.put(repr(error))


def processes(bundle: Path, method: str) -> list[str]:
    """Return what children that are started by a method of multiprocessing answer; those that hang are killed."""
    context: Any = multiprocessing.get_context(method)
    answers = [context.Queue() for _ in range(CHILDREN)]
    started = [context.Process(target=child, args=(bundle, queue)) for queue in answers]
    for process in started:
        process.start()
    found = []
    for process, queue in zip(started, answers, strict=True):
        try:
            found.append(queue.get(timeout=SECONDS))
        except Exception as error:  # queue.Empty
            found.append(f"hung for {SECONDS} s: {error!r}")
            process.kill()
        process.join()
    return found


class Digests(Dataset[str]):
    """The digest of the work, made by whichever process of a DataLoader is asked."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle

    def __len__(self) -> int:
        return CHILDREN

    def __getitem__(self, index: int) -> str:
        return work(self.bundle)


def loader(bundle: Path) -> list[str]:
    """Return what the workers of a DataLoader answer, which is forked as torch forks it."""
    loaded = DataLoader(Digests(bundle), num_workers=2, timeout=SECONDS, multiprocessing_context="fork")
    return [answer for batch in loaded for answer in batch]


def beside_threads(bundle: Path) -> list[str]:
    """Return what children answer that are forked while other threads of the parent are coding."""
    is_over = threading.Event()

    def keep_coding() -> None:
        codec = Codec.load(bundle)
        while not is_over.is_set():
            codec.decode(codec.encode(picture(bundle)[:64, :64], 50, effort=1))

    threads = [threading.Thread(target=keep_coding) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        return processes(bundle, "fork")
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def main(mode: str, bundle: Path) -> None:
    """Run one mode and print its lines."""
    torch.set_num_threads(2)
    expected = work(bundle)
    ways = {
        "fork": lambda: processes(bundle, "fork"),
        "spawn": lambda: processes(bundle, "spawn"),
        "loader": lambda: loader(bundle),
        "beside threads": lambda: beside_threads(bundle),
    }
    for answer in ways[mode]():
        print("same" if answer == expected else "other" if len(answer) == len(expected) else answer)
    print("threads", torch.get_num_threads())
    sys.stdout.flush()
    os._exit(0)  # children that hang are not waited for


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
