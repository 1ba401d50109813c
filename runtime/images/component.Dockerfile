# One step: the worker and the folder of its component.
ARG BASE
FROM ${BASE}
USER 0:0
COPY component /opt/hopbench/component
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/hopbench/component
USER 65534:65534
