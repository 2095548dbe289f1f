"""`python enqueue.py with_rq`: put all jobs of that program into the queue, and print how its worker is started."""

from __future__ import annotations

import json
import sys
from importlib import import_module

program = import_module(sys.argv[1])
program.enqueue()
print(json.dumps(program.WORKER))
