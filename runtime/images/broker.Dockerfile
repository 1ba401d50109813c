# RabbitMQ: from its own image, or installed into a Debian base.
ARG BASE
FROM ${BASE}
USER 0:0

# policy-rc.d: the package must not start a server while the image is built.
RUN command -v rabbitmq-server >/dev/null \
    || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d \
         && chmod 0755 /usr/sbin/policy-rc.d \
         && apt-get update \
         && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends rabbitmq-server \
         && rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d; }
# Any user can be the broker's: the launcher chooses one that is not root. A folder of its own, since
# RabbitMQ's image declares the usual one a volume already, and those cannot be changed any more.
RUN install -d -m 1777 /var/lib/hopbench
COPY start-broker /opt/hopbench/start-broker

VOLUME /var/lib/hopbench
EXPOSE 5672
USER rabbitmq
ENTRYPOINT []
CMD ["sh", "/opt/hopbench/start-broker"]
