import time

# It ends what would hang for ever, and nothing else: beside other work, and before kernels and modules are compiled, a
# command may take minutes to begin.
PATIENCE = 900.0  # seconds


def wait_until(condition, process=None):
    """Look again and again, for as long as the process runs that is to bring it about."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
