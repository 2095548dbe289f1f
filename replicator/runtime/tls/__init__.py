"""TLS by the standard library's ssl, over memory BIOs: contexts from directives, channels over sockets, handshakes."""
