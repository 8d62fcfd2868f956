"""Any torch network: how it is called, what it returns, who may be replaced, and what needs to know its insides.

``request`` turns a user's call into a ``Request``; ``inputs``, ``outputs``, ``segments`` and ``subject`` read the
network; ``inner`` and ``branches`` cut it; ``slopes``, ``integrals``, ``cam`` and ``baselines`` serve the gradient
methods.
"""
