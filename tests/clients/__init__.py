"""Real clients against a running server: make test-clients.

Their SDKs may ask the network for nothing but the server; this must be said before any of them
is imported.
"""

import os

os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
}
