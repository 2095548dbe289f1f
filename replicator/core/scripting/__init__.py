"""Scripts and functions: Lua 5.1 behind a sandbox, the script cache, the registry of function libraries.

Nothing here imports the interpreter before the first script runs: see state.Scripting.
"""
