# sealmatrix with everything it needs. README.md shows how to build and run it; tests/e2e/test_bare_root.py
# carries out these very steps in a bare root where no container engine runs.
FROM debian:bookworm-slim

# Which packages: harness/cli/tools.tsv, the same list scripts/setup and `sealmatrix doctor` read. Alone in its layer, so
# that a change of the sources does not install them again.
COPY scripts/setup /usr/src/sealmatrix/scripts/setup
COPY harness/cli/tools.tsv /usr/src/sealmatrix/harness/cli/tools.tsv
RUN /usr/src/sealmatrix/scripts/setup --packages && rm -rf /var/lib/apt/lists/*

COPY . /usr/src/sealmatrix
RUN python3 -m venv /opt/sealmatrix \
    && SEALMATRIX_CACHE=/tmp/built /opt/sealmatrix/bin/pip install --no-cache-dir --disable-pip-version-check /usr/src/sealmatrix \
    && rm -rf /tmp/built

# An ordinary user: kernels and payloads are kept in /var/cache/sealmatrix, runs in /results.
RUN useradd --uid 1000 --create-home seal \
    && install -d -o seal -g seal /var/cache/sealmatrix /results
ENV PATH=/opt/sealmatrix/bin:$PATH XDG_CACHE_HOME=/var/cache
VOLUME /var/cache/sealmatrix /results
USER seal
WORKDIR /results
ENTRYPOINT ["sealmatrix"]
CMD ["run", "--results", "/results"]
