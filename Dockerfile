# squashkit's own image, from this tree: docker build -t squashkit .
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
COPY . /src
RUN python3 -m venv --without-pip /opt/squashkit \
 && python3 -m pip --python /opt/squashkit/bin/python3 install --no-cache-dir /src

FROM ${BASE}
COPY --from=build /opt/squashkit /opt/squashkit
# Any user may run it, also one that the image does not know; logins are looked for in $HOME/.docker.
ENV PATH=/opt/squashkit/bin:$PATH HOME=/tmp
WORKDIR /work
USER 65534:65534
ENTRYPOINT ["squashkit"]
