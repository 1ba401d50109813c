# The load generator: interpreter, Locust, what it needs of the runtime.
ARG BASE
FROM ${BASE}

RUN python3 -m compileall -q -j 0 -x '/(test|tests|idlelib|lib2to3|turtledemo|ensurepip|site-packages|dist-packages)/' \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY site /opt/hopbench/site
RUN python3 -m compileall -q -j 0 -x '/(test|tests)/' --invalidation-mode unchecked-hash /opt/hopbench/site
COPY app /opt/hopbench/app
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/hopbench/app

ENV PYTHONPATH=/opt/hopbench/app:/opt/hopbench/site \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65534:65534
CMD ["python3", "-s", "-P", "-m", "bench.load"]
