"""What a GPU is asked: is every kernel right, does nothing wait for the device, and is it fast enough."""
