-- Questions that differ in a number of ten digits. Arguments: the file that holds the body, with ten @ where the number
-- goes; "next" (first, first + 1, ...) or "random" (first up to first + count - 1); first; count.
-- The request is put together by hand: wrk.format would cost more than some of what is measured.
local before, after, order, first, count, at

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local body = file:read("*a")
  file:close()
  order, first, count, at = args[2], tonumber(args[3]), tonumber(args[4]), 0
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer sk-bench"
  local whole = wrk.format("POST", nil, nil, body)
  local from, to = whole:find("@@@@@@@@@@", 1, true)
  before, after = whole:sub(1, from - 1), whole:sub(to + 1)
  math.randomseed(os.time())
end

function request()
  local number = first + at
  if order == "random" then
    number = first + math.random(0, count - 1)
  else
    at = (at + 1) % count
  end
  return before .. string.format("%010d", number) .. after
end
