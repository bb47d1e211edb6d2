"""The same work in several threads at once."""

import threading


def results_at_once(function, count=4):
    """What each thread gets; a thread that fails gets nothing."""
    found = [None] * count

    def run(index):
        found[index] = function()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
