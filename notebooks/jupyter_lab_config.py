"""What `make lab` tells JupyterLab."""

c = get_config()  # noqa: F821  (put here by traitlets)

# Kernels talk over TCP on this machine; encrypt it where the kernel can.
c.KernelManager.transport_encryption = "auto"
