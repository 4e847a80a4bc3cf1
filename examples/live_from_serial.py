"""A live body from four serial sensors, without ROS.

    python examples/live_from_serial.py /dev/ttyUSB0 /dev/ttyUSB1 /dev/ttyUSB2 /dev/ttyUSB3

The ports are those of waist, neck, left forearm and right forearm. Stand still in a T-pose until
bodies appear. Ctrl-C ends the program.
"""

import queue
import sys
from itertools import islice

from pallas_ros import JOINTS, ImuDriver, PipelineSettings

BODIES = int(sys.argv[5]) if len(sys.argv) > 5 else sys.maxsize
WRIST = JOINTS.index("right_wrist")

samples = queue.SimpleQueue()
driver = ImuDriver(
    ports=sys.argv[1:5],
    protocols=["witmotion"],
    on_sample=lambda site, sample: samples.put((site, sample)),
)
pipeline = PipelineSettings().pipeline()


def bodies():
    while True:
        site, sample = samples.get(timeout=30.0)
        yield from pipeline.push(site, sample)


driver.start()
try:
    for body in islice(bodies(), BODIES):
        x, y, z = body.positions[WRIST]
        print(f"right wrist at {x:+.2f} {y:+.2f} {z:+.2f} m", flush=True)
finally:
    driver.stop()
