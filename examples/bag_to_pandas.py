"""The bodies of a bag as a pandas table: one row per joint and instant.

python examples/bag_to_pandas.py out/demo/bag [bodies.csv]
"""

import sys

import pandas as pd

from pallas_ros import JOINTS, Bag
from pallas_ros.bags.bodies import read_bodies

bag = Bag(sys.argv[1])
rows = [
    {
        "t": 1e-9 * body.stamp,
        "joint": joint,
        **dict(zip("xyz", body.positions[i])),
        "confidence": body.confidence[i],
        "delay_ms": 1e-6 * (received - body.newest_input),
    }
    for received, body in read_bodies(bag, "/hpstm/body")
    for i, joint in enumerate(JOINTS)
]
table = pd.DataFrame(rows)
print(table.groupby("joint")[["x", "y", "z", "confidence"]].mean().round(2))
print(f"median delay of a body: {table.delay_ms.median():.1f} ms")
if len(sys.argv) > 2:
    table.to_csv(sys.argv[2], index=False)
