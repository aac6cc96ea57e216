"""What is right and what is wrong with a daemon's configuration on the machine that it is on.

A check is a function that gives findings; none of them changes anything. What a configuration needs
is worked out once for each kind of daemon (``*_needs.py``), so that checks know of no daemon.
"""
