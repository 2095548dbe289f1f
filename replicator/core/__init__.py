"""The pure machine: told what happened, answers with what is to be done. No clock, socket, file or chance of its
own.
"""
