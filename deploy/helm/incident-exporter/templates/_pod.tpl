{{/* What the schema cannot say. */}}
{{- define "incident-exporter.check" -}}
{{- if and .Values.sink .Values.persistence.enabled }}{{ fail "sink and persistence.enabled are both set: the archive has one place" }}{{ end -}}
{{- if not (or .Values.sink .Values.persistence.enabled) }}{{ fail "set sink to s3://BUCKET/PREFIX, or persistence.enabled to true" }}{{ end -}}
{{- if and .Values.tenants (hasKey .Values.env "EXPORTER_TENANTS") }}{{ fail "tenants and env.EXPORTER_TENANTS are both set: unset one of them" }}{{ end -}}
{{- if and (eq .Values.mode "indexed") (hasKey .Values.env "EXPORTER_SHARD") }}{{ fail "env.EXPORTER_SHARD is set, and each pod of mode indexed has a part of its own: unset it" }}{{ end -}}
{{- if and .Values.podMonitor.enabled (ne .Values.mode "deployment") }}{{ fail "podMonitor is for mode deployment: the pods of Jobs end before they are asked" }}{{ end -}}
{{- if and .Values.irsa.roleArn (not .Values.serviceAccount.create) }}{{ fail "irsa.roleArn is an annotation of the chart's service account: set serviceAccount.create, or annotate yours" }}{{ end -}}
{{- if and .Values.workloadIdentity.clientId (not .Values.serviceAccount.create) }}{{ fail "workloadIdentity.clientId is an annotation of the chart's service account: set serviceAccount.create, or annotate yours" }}{{ end -}}
{{- end }}

{{- define "incident-exporter.podMetadata" -}}
labels:
  {{- include "incident-exporter.selector" . | nindent 2 }}
  {{- if .Values.workloadIdentity.clientId }}
  azure.workload.identity/use: "true"
  {{- end }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The pod of all modes. */}}
{{- define "incident-exporter.pod" -}}
{{- include "incident-exporter.check" . -}}
serviceAccountName: {{ include "incident-exporter.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: {{ eq .Values.mode "deployment" | ternary "Always" "Never" }}
terminationGracePeriodSeconds: {{ add .Values.graceSeconds 10 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: incident-exporter
    image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [{{ eq .Values.mode "deployment" | ternary "run" "export" }}]
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    env:
      - name: EXPORTER_SINK
        value: {{ .Values.sink | default "file:/archive" | quote }}
      - name: EXPORTER_SCHEDULE
        value: {{ .Values.schedule | quote }}
      - name: EXPORTER_TIMEZONE
        value: {{ .Values.timeZone | quote }}
      - name: EXPORTER_RUN_TIMEOUT
        value: {{ printf "%ds" (int .Values.runTimeoutSeconds) }}
      - name: EXPORTER_GRACE
        value: {{ printf "%ds" (int .Values.graceSeconds) }}
      {{- if eq .Values.mode "deployment" }}
      - name: EXPORTER_LISTEN
        value: ":9464"
      {{- end }}
      {{- if eq .Values.mode "indexed" }}
      - name: EXPORTER_SHARDS
        value: {{ .Values.shards | quote }}
      {{- end }}
      {{- if .Values.tenants }}
      - name: EXPORTER_TENANTS_FILE
        value: /etc/incident-exporter/tenants/tenants
      {{- end }}
      {{- range $name, $value := .Values.env }}
      - name: {{ $name }}
        value: {{ kindIs "float64" $value | ternary (int64 $value) $value | quote }}
      {{- end }}
    {{- if eq .Values.mode "deployment" }}
    ports:
      - name: metrics
        containerPort: 9464
    livenessProbe:
      httpGet:
        path: /healthz
        port: metrics
      periodSeconds: 30
      timeoutSeconds: 5
      failureThreshold: 4
    readinessProbe:
      httpGet:
        path: /readyz
        port: metrics
      periodSeconds: 30
      timeoutSeconds: 5
    {{- end }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    {{- if or .Values.persistence.enabled .Values.secret.name .Values.tenants }}
    volumeMounts:
      {{- if .Values.persistence.enabled }}
      - name: archive
        mountPath: /archive
      {{- end }}
      {{- if .Values.secret.name }}
      - name: secret
        mountPath: /etc/incident-exporter/secret
        readOnly: true
      {{- end }}
      {{- if .Values.tenants }}
      - name: tenants
        mountPath: /etc/incident-exporter/tenants
        readOnly: true
      {{- end }}
    {{- end }}
{{- if or .Values.persistence.enabled .Values.secret.name .Values.tenants }}
volumes:
  {{- if .Values.persistence.enabled }}
  - name: archive
    persistentVolumeClaim:
      claimName: {{ .Values.persistence.existingClaim | default (include "incident-exporter.name" .) }}
  {{- end }}
  {{- if .Values.secret.name }}
  - name: secret
    secret:
      secretName: {{ .Values.secret.name }}
      defaultMode: 0440
  {{- end }}
  {{- if .Values.tenants }}
  - name: tenants
    configMap:
      name: {{ include "incident-exporter.name" . }}-tenants
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
