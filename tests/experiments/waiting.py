import time


def wait_until(condition, process=None, seconds=180):
    """Look again and again, for as long as the process runs that is to bring it about."""
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
