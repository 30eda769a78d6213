"""Cuts one month out of the feature tables: python january.py SOURCE_DIR (needs pyarrow)."""

import datetime
import pathlib
import sys

import pyarrow.compute as pc
import pyarrow.parquet as pq

START = datetime.datetime(2013, 1, 1, tzinfo=datetime.timezone.utc)
END = datetime.datetime(2013, 2, 1, tzinfo=datetime.timezone.utc)
TABLES = ["aircraft_profile", "aircraft_stats", "airport_weather", "route_stats"]

source, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
for name in TABLES:
    table = pq.read_table(source / f"{name}.parquet")
    time = table["event_timestamp"]
    table = table.filter(pc.and_(pc.greater_equal(time, START), pc.less(time, END)))
    pq.write_table(table, here / f"{name}.parquet", compression="zstd", compression_level=15)
    print(f"{name}: {table.num_rows} rows")
