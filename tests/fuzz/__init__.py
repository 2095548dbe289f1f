"""The fuzzer: bytes, commands, scripts and peers that mean no good, against decoders and whole nodes.

    make fuzz SECONDS=600          every target in turn, for so long; seeds are printed
    python -m tests.fuzz --target aof --seed 17     one input again

A target makes an input from a seed and runs it. An exception that is not one of its refusals is a failure; so is the
end of the process, an input that does not come to its end, and a turn of more steps (calls of functions, Python's and
C's) than steps.py allows for its bytes. What has failed once stands in corpus.txt and is tried first.
"""
