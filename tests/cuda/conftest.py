import os

# Whether kernels are interpreted is settled when Triton is imported: `test_interpreted.py` runs these in processes of
# their own.
collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted/*"]
