"""What `airbundle init` writes. `@NAME@` becomes the directory's name."""

from __future__ import annotations

BUNDLE_TEMPLATE = """\
# What goes into the bundle. Lines that begin with '#' are examples: take the '#' away to use them.
# Every field is explained in docs/inventory.md; `airbundle schema bundle` helps your editor.
#
#   airbundle scan DIR                            what will the charts run, and what of it is missing?
#   airbundle lock DIR                            every tag and version range becomes a digest, once
#   airbundle build DIR -o OUT --key release.key  one signed file: NAME-VERSION.airbundle
apiVersion: airbundle.dev/v1
kind: Bundle
metadata:
  name: @NAME@
  version: 0.1.0

# After this time sites refuse to install the bundle: a duration (90d, 12h), a date (2027-01-31), or never.
expires: 90d

# Which platforms to carry of images that have several.
platforms: [linux/amd64]

# What values ask of each site as {{ site.NAME }}, beside name, domain, registry, storageClass and ca_issuer:
# with a default, or with an example where the site must tell.
# site:
#   replicas: {default: 2, description: pods of each web server}
#   turn_address: {example: 192.0.2.7, description: public address of the TURN server}

# Container images. Bare names mean what they mean to Docker: redis:7.2 is docker.io/library/redis:7.2.
images:
  - docker.io/library/redis:7.2
  # - ref: quay.io/prometheus/prometheus:v2.53.0
  #   platforms: [linux/amd64, linux/arm64]   # instead of those above
  # - ref: registry.k8s.io/pause:3.10
  #   sparse: false                           # all platforms: some registries refuse an index with gaps
  # - ref: docker-daemon:myapp:dev            # from the local Docker engine
  #   as: internal/myapp:dev                  # its name in the bundle
  # - ref: oci-archive:build/myapp.tar        # also oci:DIR:REF and docker-archive:FILE:REF
  #   as: internal/myapp:1.0

# Helm charts, from a chart repository, from a registry, or from a directory beside this file.
charts:
  # - name: cert-manager
  #   repo: https://charts.jetstack.io
  #   version: v1.21.1                        # or a range, such as ^1.21; the lock pins what it resolved to
  #   release:                                # how the site deploys it; leave it out to only carry the chart
  #     name: cert-manager
  #     namespace: cert-manager
  #     values: [values/cert-manager.yaml]
  #   variants:                               # further values that sites may use: scan looks for their images, too
  #     large: [values/cert-manager-large.yaml]
  # - name: redis
  #   repo: oci://registry-1.docker.io/bitnamicharts
  #   version: "*"                            # the newest
  # - name: myapp
  #   path: charts/myapp

# Kubernetes manifests of your own.
manifests:
  # - path: manifests/
  #   release: {name: base, needs: [cert-manager]}

# Other files. What comes from a URL is pinned by its digest.
files:
  # - url: https://example.com/tool-1.0.tar.gz
  #   sha256: "0000000000000000000000000000000000000000000000000000000000000000"
  # - path: docs/handbook.pdf

# ClamAV databases, served at the site as a freshclam private mirror.
# clamav:
#   source: cvdupdate                         # or a directory of .cvd files, such as /var/lib/clamav
#   databases: [main, daily, bytecode]

# The CA of the private registry and of everything inside the site.
ca:
  mode: site                                  # made at the site; its key never leaves it
"""

SITE_TEMPLATE = """\
# What this site is like. Lines that begin with '#' are examples: take the '#' away to use them.
# `airbundle schema site` helps your editor.
apiVersion: airbundle.dev/v1
kind: Site
metadata:
  name: @NAME@

# Everything inside is below this domain; the private registry is registry.<domain>.
domain: site.internal

# The cluster. Its uid keeps an install from going to the wrong one:
#   kubectl get namespace kube-system -o jsonpath='{.metadata.uid}'
# cluster:
#   context: berlin
#   uid: 00000000-0000-0000-0000-000000000000

# Where the nodes pull from: airbundle's own server (embedded), registry:2 in Docker (container), or one of yours.
registry:
  mode: embedded
  # mode: external
  # url: https://harbor.site.internal
  # prefix: mirror                            # a path before all names
  # auth: {username: installer, passwordFile: /root/harbor.password}
  # ca: /etc/pki/site-ca.pem

# How the nodes learn of the registry. `local`: this host is the cluster's only node. Where there are more: `ssh`, with
# their hosts below; `daemonset`, a pod on each; or `manual`, a person runs a script on each.
nodes:
  runtime: containerd                         # or k3s, rke2, crio, docker
  access: local                               # or ssh, daemonset, manual
  # hosts: [root@node-1, root@node-2]
  restart: manual                             # or rolling: cordon, restart, uncordon, node by node

# What the site's own CA may vouch for.
ca:
  mode: site
  permitted: [site.internal, 10.0.0.0/8]

# dns:
#   zone: site.internal
#   records: {registry: 10.0.0.10}
#   forward: [10.0.0.2]

# storageClass: standard

# What is different here about releases of the bundle.
releases:
  # label-studio: {enabled: false}
  # cert-manager: {handedOver: true}   # an administrator deploys it: `install --handoff DIR`

# What the bundle's own names stand for here: `airbundle inspect BUNDLE` lists those that it asks for.
# Values with {{ site.replicas }} in them then have 3. No secrets: those go below, or into Secrets that are there.
names:
  # replicas: 3
  # turn_address: 192.0.2.7

# Values of this site, by release; they win over those of the bundle.
values:
  # synapse: values/synapse.yaml

# Secrets to be made before releases are deployed: random, prompt, env:NAME or file:PATH.
secrets:
  # - name: synapse-signing
  #   namespace: matrix
  #   keys: {signing.key: random}
"""
