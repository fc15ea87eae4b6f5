"""The demonstration behind ``make run``: submitd with a small world around it.

Nothing in submitd knows of it: directory, name server and receiving server are
processes of their own, which submitd reaches as it would reach real ones.
"""
