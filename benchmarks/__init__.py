"""Side by side with stock servers, in one run on one machine: `python -m benchmarks --help`."""
