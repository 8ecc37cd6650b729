// What Go's encoding/json makes of the documents of images, and compress/gzip of a stream.
//
// A line of input is a kind and a document in base64; a line of output is what was understood, as JSON, or
// the error. The structs are those of image-spec's specs-go, of docker's manifest.json and of the check that
// containerd added for CVE-2021-41190 (images.validateMediaType).
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

type Platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type Index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Words is docker's strslice.StrSlice: a list of strings, or one.
type Words []string

func (w *Words) UnmarshalJSON(data []byte) error {
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		var one string
		if err := json.Unmarshal(data, &one); err != nil {
			return err
		}
		list = []string{one}
	}
	*w = list
	return nil
}

type Healthcheck struct {
	Test    []string      `json:",omitempty"`
	Retries int           `json:",omitempty"`
	Timeout time.Duration `json:",omitempty"`
}

type Settings struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   Words               `json:"Entrypoint,omitempty"`
	Cmd          Words               `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	Healthcheck  *Healthcheck        `json:",omitempty"`
}

type History struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

type Image struct {
	Created *time.Time `json:"created,omitempty"`
	Author  string     `json:"author,omitempty"`
	Platform
	Config Settings `json:"config,omitempty"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []History `json:"history,omitempty"`
}

type Item struct {
	Config       string
	RepoTags     []string
	Layers       []string
	Parent       string                `json:",omitempty"`
	LayerSources map[string]Descriptor `json:",omitempty"`
}

type kinds struct {
	MediaType string          `json:"mediaType"`
	Config    json.RawMessage `json:"config"`
	Layers    json.RawMessage `json:"layers"`
	Manifests json.RawMessage `json:"manifests"`
	FSLayers  json.RawMessage `json:"fsLayers"`
}

func refuseOther(data []byte, index bool) error {
	var found kinds
	if err := json.Unmarshal(data, &found); err != nil {
		return err
	}
	if len(found.FSLayers) != 0 {
		return errors.New("schema 1")
	}
	if !index && (len(found.Manifests) != 0 || strings.Contains(found.MediaType, "index")) {
		return errors.New("expected a manifest, found an index")
	}
	if index && (len(found.Config) != 0 || len(found.Layers) != 0 || strings.Contains(found.MediaType, "manifest.v1")) {
		return errors.New("expected an index, found a manifest")
	}
	return nil
}

func read(kind string, data []byte) (any, error) {
	switch kind {
	case "manifest":
		var found Manifest
		if err := refuseOther(data, false); err != nil {
			return nil, err
		}
		return &found, json.Unmarshal(data, &found)
	case "index":
		var found Index
		if err := refuseOther(data, true); err != nil {
			return nil, err
		}
		return &found, json.Unmarshal(data, &found)
	case "config":
		var found Image
		return &found, json.Unmarshal(data, &found)
	case "docker":
		var found []Item
		return &found, json.Unmarshal(data, &found)
	case "gzip":
		stream, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(stream)
		return len(content), err
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		kind, encoded, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		data, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			panic(err)
		}
		answer := map[string]any{"error": nil}
		answer["found"], err = read(kind, data)
		if err != nil {
			answer["error"] = err.Error()
		}
		out, err := json.Marshal(answer)
		if err != nil {
			panic(err)
		}
		os.Stdout.Write(append(out, '\n'))
	}
}
