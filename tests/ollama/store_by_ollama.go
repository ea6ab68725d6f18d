// What Ollama's own packages make of the blobs of a store, to compare the two. In a clone of github.com/ollama/ollama:
//
//	mkdir storecheck && cp .../tests/ollama/store_by_ollama.go storecheck/
//	go run ./storecheck STORE EMPTY && diff -r STORE EMPTY
//
// Every blob is hashed and stored again, every GGUF file decoded, every config made of what is found in it, and written
// with the manifest as `ollama create` does it (server/create.go, createModel). Prints what `ollama list` would show.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/ollama/ollama/format"
	"github.com/ollama/ollama/fs/ggml"
	"github.com/ollama/ollama/manifest"
	"github.com/ollama/ollama/types/model"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func in[T any](store string, do func() T) T {
	os.Setenv("OLLAMA_MODELS", store)
	return do()
}

func main() {
	ours, theirs := os.Args[1], os.Args[2]
	all := in(ours, func() map[model.Name]*manifest.Manifest { return must(manifest.Manifests(false)) })
	for name, found := range all {
		read := func(layer manifest.Layer) []byte {
			return in(ours, func() []byte { return must(os.ReadFile(must(manifest.BlobsPath(layer.Digest)))) })
		}
		var before model.ConfigV2
		strict := json.NewDecoder(bytes.NewReader(read(found.Config)))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&before); err != nil {
			panic(err)
		}
		config := model.ConfigV2{OS: "linux", Architecture: "amd64"}
		config.Renderer, config.Parser, config.Requires = before.Renderer, before.Parser, before.Requires
		var layers []manifest.Layer
		for _, layer := range found.Layers {
			data := read(layer)
			layers = append(layers, in(theirs, func() manifest.Layer { return again(layer, data, &config) }))
		}
		in(theirs, func() any {
			own := must(manifest.NewLayer(bytes.NewReader(encoded(config)), found.Config.MediaType))
			return must[any](nil, manifest.WriteManifest(name, own, layers))
		})
		fmt.Println(name.DisplayShortest(), config.ModelFamily, config.ModelType, config.FileType)
	}
}

// again stores a layer as if it had just been sent, and notes in the config what a model says of itself.
func again(layer manifest.Layer, data []byte, config *model.ConfigV2) manifest.Layer {
	switch kind := layer.MediaType[strings.LastIndex(layer.MediaType, ".")+1:]; kind {
	case "params":
		data = encoded(decoded[map[string]any](data))
	case "messages":
		data = encoded(decoded[[]message](data))
	case "model":
		file := must(ggml.Decode(bytes.NewReader(data), -1))
		family := file.KV().Architecture()
		config.ModelFormat, config.ModelFamily, config.ModelFamilies = file.Name(), family, []string{family}
		config.ModelType = format.HumanNumber(file.KV().ParameterCount())
		config.FileType = file.KV().FileType().String()
	}
	made := must(manifest.NewLayer(bytes.NewReader(data), layer.MediaType))
	if layer.From != "" {
		return must(manifest.NewLayerFromLayer(made.Digest, made.MediaType, layer.From))
	}
	return made
}

// message is api.Message, as far as a Modelfile gives one.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func decoded[T any](data []byte) (value T) {
	if err := json.Unmarshal(data, &value); err != nil {
		panic(err)
	}
	return value
}

func encoded(value any) []byte {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(value); err != nil {
		panic(err)
	}
	return text.Bytes()
}
