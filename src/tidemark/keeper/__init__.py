"""The keeper: the resident process that owns a live workload.

It started the workload or attached to it, holds every thread under ptrace and every address
space under its tracker, answers step requests on a Unix socket, and dies with its owner.

From the bottom: :mod:`objects` tells what is mapped; :mod:`tree` follows processes
through ptrace; :mod:`tracking` knows regions and who may have written them; :mod:`quantum` lets
the workload run for an epoch; :mod:`session` puts these together in the order of the steps;
:mod:`server` and :mod:`client` are the two ends of the socket.
"""
