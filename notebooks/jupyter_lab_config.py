"""What `make lab` tells JupyterLab."""

c = get_config()  # noqa: F821  (put here by traitlets)

# Kernels talk over TCP on this machine; encrypt it where the kernel can.
c.KernelManager.transport_encryption = "auto"

# In a container the only user is often root; the server listens on loopback and asks for its token.
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.allow_root = True
