"""The hosted endpoint of tests and demo: a second vLLM outside the workload's namespace, behind TLS and an API key.

authority, leaf = certificates.make()
for document in manifests(leaf, api_key="…", image=images.reference("engine")): kubectl apply
HostedProvider: baseURL https://hosted.hosted.svc, caSecretRef → authority.certificate, model acme/tiny-chat-hosted
"""

from tests.e2e.cluster.stand_in.manifests import HOST, NAMESPACE, SERVED_NAME, manifests

__all__ = ["HOST", "NAMESPACE", "SERVED_NAME", "manifests"]
