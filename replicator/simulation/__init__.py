"""Virtual time, network, clocks and disks: the very machines that serve users, run from one seed
(docs/simulation.md)."""
