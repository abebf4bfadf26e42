"""A PostgreSQL HA cluster on one machine, made to be broken.

Three nodes, each in a network namespace with its own address, an etcd member, an HA agent (pgtether, or Patroni for
comparison) and PostgreSQL; a client namespace from which every node is written to all the time; faults; and a measure
of what the faults did: acknowledged writes that were lost, the time nobody accepted writes, the time two nodes did.

`python3 -m lab --help` is the command line; quickstart, the system tests and the benchmarks use the modules.
"""
