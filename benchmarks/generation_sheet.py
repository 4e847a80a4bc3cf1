"""A contact sheet of generated motion: twelve requests, three seeds each, at two instants.

python benchmarks/generation_sheet.py --out docs/images/generation_sheet.png
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from PIL import Image
from tqdm import tqdm

from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import Request
from pallas_ros.body.errors import PallasError
from pallas_ros.view.sheet import Cell, picture_sheet

REQUESTS = (
    "wave with the right hand",
    "wave with the left hand",
    "raise both hands",
    "walk forward",
    "walk backward",
    "run forward",
    "pick something up from the floor",
    "bow",
    "turn around",
    "jump",
    "dance",
    "reach forward with the right hand",
)
SEEDS = (0, 1, 2)
MOMENTS = (1.3, 2.6)
"""s, of 4 s."""
COLUMNS = 2 * len(SEEDS) * len(MOMENTS)
SCALE = 0.5


def cells(producer: Producer, text: str, model: str) -> list[Cell]:
    """Return the pictures of a request, seed by seed; empty ones if the guard rejects a motion."""
    found = []
    for seed in SEEDS:
        try:
            motion = producer.produce(Request(text, 4.0, seed), model).candidates[0].motion
        except PallasError:
            found += [Cell(None, None, f"seed {seed}: refused") for _ in MOMENTS]
            continue
        for moment in MOMENTS:
            frame = round(moment * motion.fps)
            first = not found
            caption = text if first else f"seed {seed}, {moment} s"
            found.append(Cell(motion.positions[frame], motion.rotations[frame], caption))
    return found


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="picture (.png)")
    parser.add_argument("--model", default="", help="generator (default: that of the package)")
    args = parser.parse_args()
    producer = Producer()
    every = [cell for text in tqdm(REQUESTS) for cell in cells(producer, text, args.model)]
    sheet = Image.fromarray(picture_sheet(every, COLUMNS))
    sheet = sheet.resize((round(sheet.width * SCALE), round(sheet.height * SCALE)))
    sheet.quantize(128).save(args.out, optimize=True)
    print(args.out)


if __name__ == "__main__":
    main()
