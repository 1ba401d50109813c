# What every step written in Python is built on: interpreter, client libraries, the worker.
ARG BASE
FROM ${BASE}

# Bytecode is made here because the root is read-only at run time. Python's own image comes without.
RUN python3 -m compileall -q -j 0 -x '/(test|tests|idlelib|lib2to3|turtledemo|ensurepip|site-packages|dist-packages)/' \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

# Unchecked: the importer need not compare it with the source.
COPY site /opt/hopbench/site
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/hopbench/site
COPY app /opt/hopbench/app
COPY bare /opt/hopbench/bare
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/hopbench/app /opt/hopbench/bare

ENV PYTHONPATH=/opt/hopbench/app:/opt/hopbench/site \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOPBENCH_BARE=/opt/hopbench/bare \
    HOPBENCH_COMPONENT=/opt/hopbench/component
WORKDIR /tmp
USER 65534:65534
CMD ["python3", "-s", "-P", "-m", "runtime.worker"]
