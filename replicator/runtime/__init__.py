"""The live driver: trio and the operating system. It carries out effects and tells events; it decides nothing."""
