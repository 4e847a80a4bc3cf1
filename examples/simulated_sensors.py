"""Four simulated serial sensors, to run a reader of real sensors without hardware.

    python examples/simulated_sensors.py          # prints four ports; in another terminal:
    python examples/live_from_serial.py PORT PORT PORT PORT

The ports are pseudo-terminals that send the bytes of WitMotion sensors. The simulated wearer stands
in a T-pose, moves, and then repeats this. Ctrl-C ends the program.
"""

import contextlib
import sys
import time

from pallas_ros import SITES, demo_motion
from pallas_ros.imu.protocols import PROTOCOLS
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 1e9

simulator = SensorSimulator(demo_motion(10.0), PROTOCOLS["witmotion"], SensorNoise())
simulator.start()
print(" ".join(simulator.ports[site] for site in SITES), flush=True)
try:
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(SECONDS)
finally:
    simulator.stop()
