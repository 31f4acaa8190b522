-- Bodies of a file in their order. Arguments: the file, a body a line; the first to send, counted from 0. After the last
-- comes the first. The request is put together by hand: wrk.format would cost more than some of what is measured.
local bodies, at, head = {}, 0, ""

function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = line
  end
  at = tonumber(args[2])
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer sk-bench"
  -- The length comes last, before the body.
  head = wrk.format("POST", nil, nil, "@"):gsub("Content%-Length: 1\r\n", ""):gsub("\r\n@$", "Content-Length: ")
end

function request()
  local body = bodies[at % #bodies + 1]
  at = at + 1
  return head .. #body .. "\r\n\r\n" .. body
end
